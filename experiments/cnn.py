"""The paper's CNN (section 4.2; Figures 15, 16; Table 1).

python -m experiments.cnn --flagfile=experiments/flags/cnn_demo.flags --workdir=DIR
python -m experiments.cnn --flagfile=experiments/flags/cnn_cpu.flags --data_dir=DATA --workdir=DIR
python -m experiments.cnn --flagfile=experiments/flags/cnn_paper.flags --data_dir=DATA --workdir=DIR
"""

from experiments.train import run_system

if __name__ == "__main__":
    run_system("cnn", __doc__ or "")
