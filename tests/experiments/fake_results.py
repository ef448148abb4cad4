"""Results files in small, for the tests of their tables."""


def fake_run(protocol="slice", seed=0, accuracy=0.9, slices=10, fold=0) -> dict:
    """A classifier's run as a results file holds it."""
    scores = {"slices": slices, "accuracy": accuracy, "accuracy_ci95": [0.8, 1.0], "macro_f1": 0.88, "roc_auc": 0.99}
    scores |= {"by_patient": None, "confusion_matrix": [[3, 1], [0, 4]]}
    return {
        "protocol": protocol,
        "split": {"fold": fold, "folds": 2, "seed": seed},
        "config": {"seed": seed, "system": "cnn"},
        "counts": {"test": {"slices": 10, "patients": 4}},
        "test": scores,
        "validation": scores | {"accuracy": 0.5},
        "held_out": scores,
        "baselines": {"linear_model": {"accuracy": 0.7}, "class_prior": {"accuracy": 0.4}},
        "training": {"seconds": 120},
    }


def fake_comparison(method, mean, slices=20, interval=(0.01, 0.2), **place) -> dict:
    """A row of a saliency comparison."""
    return {
        "method": method, "mean": mean, "slices": slices, "patients": 9, "best_control": "centre", "control_mean": 0.2,
        "difference": mean - 0.2, "difference_ci95": interval, "beats_best_control": interval is not None,
        "score": "average_precision", "group": "all", "value": "all",
    } | place  # fmt: skip


def fake_saliency(comparison, controls, **others) -> dict:
    """A saliency result with these rows."""
    scores = [{"method": method} for method in dict.fromkeys(row["method"] for row in comparison)]
    return {
        "test_slices": 20,
        "accuracy": 0.95,
        "classes": ["glioma"],
        "run": {"training": {"epochs": 3}},
        "saliency": {
            "baseline": "black",
            "arithmetic": "as_trained",
            "samples": 8,
            "rise_masks": 100,
            "score_cam_channels": 0,
        },
        "split": "abc",
        "faithfulness": {"slices": 6, "rows": []},
        "randomisation": {"slices": 6, "rows": []},
        "localisation": {"controls": controls, "comparison": comparison, "scores": scores},
    } | others


def fake_attack() -> dict:
    """What the attack writes, with one wrong thing in each part."""
    return {
        "schema": 1,
        "inputs": {
            "seed": 0,
            "kinds": {
                "options": {"read": 2, "refused": 7, "wrong": 1},
                "manifests": {"read": 1, "refused": 9, "wrong": 0},
            },
            "wrong": ["0 options: /home/somebody/x"],
            "peak_mib": 812,
            "limit_mib": 1500,
        },
        "flips": {
            "seed": 0,
            "kinds": {"maps": {"named": 4, "made anew": 0, "harmless": 1, "used": 1}},
            "used": ["0 maps: bit 3 of /home/somebody/y"],
        },
        "kills": {"train": {"count": 100, "kills": 2, "wrong": ["train 3: other content in /home/somebody/z"]}},
        "full_disks": {"links": {"points": ["links.csv", "links.json"], "wrong": []}},
    }
