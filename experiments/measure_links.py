"""Measures how well slices that belong together are found, where patient ids are known.

python -m experiments.measure_links --data_dir=DATA [--against=OTHER_DATA] [--output=links_cheng.json]
python -m experiments.measure_links --data_dir=DATA --fit

The first writes the figures of the half of the families that nothing was chosen on. The second prints the numbers of
btjax/links/rule.py, found on the other half.
"""

import json

import msgspec
from absl import flags

from btjax.base.bars import ProgressBar
from btjax.base.files import expanded, write_json
from btjax.data.dataset import DataConfig, load_data
from btjax.links.links import link_between
from btjax.studies.link_measure import fit, known_halves, measure
from btjax.studies.links import against_classes
from experiments.command_line import FLAGS, define_cache_flag, heading
from experiments.guard import run_guarded

with heading("run"):
    flags.DEFINE_string("data_dir", "", "folder of slices with patient ids, numbered in the order they were taken")
    flags.DEFINE_string("against", "", "folder of another data set, whose slices are sought among those of data_dir")
    flags.DEFINE_string("output", "", "file for the figures; default: they are printed")
    flags.DEFINE_bool("fit", False, "print the numbers of the rule instead")
    flags.DEFINE_integer("image_size", 128, "side in pixels at which slices are read", lower_bound=32, upper_bound=4096)
    define_cache_flag()


def main() -> None:
    """Measures, or fits."""
    observer = ProgressBar()
    data = DataConfig(data_dir=FLAGS.data_dir, image_size=FLAGS.image_size)
    slices = load_data(data, FLAGS.cache_dir, observer.on_data).slices
    known_halves(slices)
    if FLAGS.fit:
        values = fit(slices, observer.on_data)
    else:
        values = msgspec.to_builtins(measure(slices, observer.on_data))
        if FLAGS.against:
            config = DataConfig(data_dir=FLAGS.against, image_size=FLAGS.image_size)
            others = load_data(config, FLAGS.cache_dir, observer.on_data).slices
            links = link_between(others, slices, observer.on_data)
            values["against"] = msgspec.to_builtins(against_classes(others, slices, links))
    observer.on_end()
    if FLAGS.output:
        write_json(expanded(FLAGS.output), values, indent=1, seal=False)
    else:
        print(json.dumps(values, indent=1))


if __name__ == "__main__":
    run_guarded("measure_links", main, __doc__ or "")
