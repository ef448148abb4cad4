"""VGG16 with ImageNet's weights (section 4.3 of the paper; Figure 17; Table 2).

python -m experiments.vgg16 --flagfile=experiments/flags/PRESET.flags --data_dir=DATA --weights=FILE --workdir=DIR

Presets: vgg16_paper (the base frozen), vgg16_finetune (block 5 trains too).
"""

from experiments.train import run_system

if __name__ == "__main__":
    run_system("vgg16", __doc__ or "")
