"""An attack on btjax: bad input, flipped bits and kills, as a command that counts what became of each.

    scripts/attack --workdir=OUT [--inputs=1000] [--flips=200] [--kills=100] [--seed=0]

Nothing of it is installed with btjax. The tests run a part of it: see `test_attack`.
"""
