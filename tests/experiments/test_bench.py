import jax
import pytest

from experiments import bench


def test_the_flops_of_a_step_are_those_of_its_products():
    case = {"image_size": 8, "channels": 3, "batch_size": 2, "dense": 5, "widths": [4, 6]}
    first, second = 8 * 8 * 9 * 3 * 4, 4 * 4 * 9 * 4 * 6
    dense = 2 * 2 * 6 * 5 + 5 * 3
    assert bench.step_flops(case) == 2 * (2 * first + 3 * second + 3 * dense)


def test_ratios_are_of_the_same_round():
    def answers(times):
        rows = [{"ms_per_image": time, "peak_memory_mib": 1.0, "matmul_gflops": 100.0} for time in times]
        return [{"compile_seconds": 1.0}, *rows]

    case = bench.CASES["small"]
    summary = bench.summarise(case, {"btjax": answers([1.0, 2.0, 4.0]), "torch_eager": answers([3.0, 4.0, 8.0])})
    assert summary["forms"]["torch_eager"]["time_over_btjax"] == 2.0
    assert summary["forms"]["btjax"]["time_over_btjax"] == 1.0
    expected = bench.step_flops(case) / 1e9 / 2e-3
    assert summary["forms"]["btjax"]["gflops"] == pytest.approx(expected, rel=1e-2)


@pytest.mark.parity
def test_every_form_takes_the_same_training_steps(torch):
    case = {"image_size": 16, "channels": 1, "batch_size": 8, "dense": 8, "widths": [4, 8]}
    for form in ("torch_eager", "torch_channels_last"):
        bench.torch_steps(case, form)(3)
    with jax.numpy_dtype_promotion("standard"):  # Optax raises a float to an integer step count
        bench.btjax_steps(case)(18)
