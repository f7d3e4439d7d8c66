"""Figures on small tables: what they show, where thresholds lie, and that no text is cut off."""

import itertools

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from nbutils import runs
from nbutils.data import corruptions
from nbutils.plots import data, evaluation, models, style, uncertainty

pytestmark = pytest.mark.filterwarnings("ignore:vert:DeprecationWarning")  # of seaborn
CLASS_COUNTS = (2, 6, 30)
LONG = "Schalenförmige Walzfehlerstelle nach dem Beizen, Typ B"
CURVE = pd.DataFrame(
    {
        "confidence": [0.9999, 0.99, 0.8, 0.5],
        "cost": [0.8, 0.2, 0.1, 0.6],
        "coverage": [0.2, 0.6, 0.9, 1.0],
        "risk": [0.0, 0.0, 0.01, 0.03],
    }
)


@pytest.fixture(autouse=True)
def one_style():
    """The project's style; all figures closed afterwards."""
    style.use_style()
    yield
    plt.close("all")


def names(count):
    return [LONG, *(f"class_{number}" for number in range(1, count))]


def images(count):
    """A wide strip, a tall one and square images, with a box of the class and one of another."""
    rng = np.random.default_rng(0)
    sizes = [(64, 400), (200, 200), (300, 50), (200, 200)]
    grays = [rng.integers(0, 255, sizes[at % 4], dtype=np.uint8) for at in range(count)]
    rows = pd.DataFrame(
        {
            "path": [f"line_3/{LONG.lower()}_camera_07_{at:05}.png" for at in range(count)],
            "label": (names(3) * count)[:count],
            "predicted": "class_1",
            "confidence": 0.75,
        }
    )
    rows["boxes"] = [
        [(label, 0, 0, 20, 20), ("another class", gray.shape[1] - 20, 30, gray.shape[1], 50)]
        for label, gray in zip(rows["label"], grays, strict=True)
    ]
    return grays, rows


def predictions(count=2, wrong=3):
    table = pd.DataFrame({"label": names(count) * 10})
    table["predicted"] = table["label"]
    table.loc[: wrong - 1, "predicted"] = np.roll(table["label"], 1)[:wrong]
    table["confidence"] = np.linspace(0.6, 1, len(table))
    return table


def classwise(count):
    measures = ("precision", "recall", "f1", "pointing", "energy")
    values = {measure: np.linspace(0.5, 0.9, count) for measure in measures}
    ends = {f"{measure}_low": values[measure] - 0.1 for measure in measures}
    ends |= {f"{measure}_high": values[measure] + 0.1 for measure in measures}
    return pd.DataFrame(values | ends | {"coverage": 0.3}, index=names(count))


def accuracy_table(n_models=3):
    rows = [
        (protocol, size, f"model_{model}", 0.9 + model / 100 + size / 10_000)
        for protocol, sizes in (
            ("fixed", [240]),
            ("blocked", [240]),
            ("learning_curve", [5, 20, 100]),
        )
        for size in sizes
        for model in range(n_models)
    ]
    table = pd.DataFrame(rows, columns=["protocol", "n_per_class", "model", "accuracy"])
    return table.assign(low=table["accuracy"] - 0.02, high=table["accuracy"] + 0.01)


def cost_table():
    return pd.DataFrame(
        {
            "accuracy": [0.96, 0.98, 0.99, 0.97],
            "protocol": ["blocked", "fixed", "blocked", "blocked"],
            "latency_ms": [26.0, 8.0, 19.0, 37.0],
            "file_mb": [0.1, 1.4, 2.2, 13.6],
        },
        index=["lbp_svm", "custom_cnn", "mobilenet_v2", "efficientnet_lite0"],
    )


def robustness_table():
    cells = [(family, level) for family in corruptions.FAMILIES for level in (1, 2, 3, 4, 5)]
    table = pd.DataFrame([("clean", 0), *cells], columns=["family", "severity"])
    return table.assign(accuracy=np.linspace(1, 0.3, len(table)), confidence=0.9)


def rate_table():
    families = ["none", *["defocus"] * 3, *["gamma"] * 3]
    rates = [0.005, 1, 1, 1, 0, 0.5, 1]
    return pd.DataFrame(
        {"family": families, "severity": [0, 1, 2, 3, 1, 2, 3], "detection_rate": rates}
    )


def coverage_table(count):
    return pd.DataFrame(
        [
            {
                "images": kind,
                "target_coverage": target,
                "class": name,
                "coverage": 0.95,
                "size": 1.1,
            }
            for kind in ("clean", "corrupted")
            for target in (90, 95, 99)
            for name in ("all", *names(count))
        ]
    )


def changes():
    names = ["brightness", "contrast", "sharpness", LONG]
    return dict(zip(names, (-6.0, 0.0, 3.0, 5.0), strict=True))


def reliability_tables():
    bins = pd.DataFrame(
        {"confidence": [0.5, 0.7, 0.9], "accuracy": [0.4, 0.6, 0.95], "images": [3, 40, 400]}
    )
    return {(kind, step): bins for kind in ("clean", "corrupted") for step in ("before", "after")}


def novelty_table():
    groups = np.repeat(["test images", LONG, "noise"], 20)
    return pd.DataFrame({"group": groups, "novelty": np.geomspace(0.5, 20, 60)})


def left_out_table(count):
    cells = [(name, score) for name in names(count) for score in ("energy", LONG)]
    return pd.DataFrame(cells, columns=["held_out_class", "score"]).assign(auroc=0.75)


def counts(count):
    return pd.DataFrame(np.eye(count, dtype=int) * 50, names(count), names(count))


def history_table():
    epochs = np.arange(1, 31)
    losses = {"loss": 2 / epochs, "val_loss": 2.5 / epochs}
    shares = {"accuracy": 1 - 0.5 / epochs, "val_accuracy": 1 - 0.6 / epochs}
    return pd.DataFrame({"epoch": epochs, **losses, **shares})


def error_figure(count):
    grays, rows = images(3)
    values = pd.DataFrame(np.full((3, count), 1 / count), columns=names(count)).add_prefix("p_")
    return evaluation.errors(grays, rows.join(values))


def balance_figure(count):
    labels = pd.Series(names(count) * 20)
    return data.class_balance(labels, pd.Series((["train"] * 3 + ["test"]) * (5 * count)))


def texture_figure(count):
    labels = pd.Series(names(count) * 5)
    measures = pd.DataFrame(np.random.default_rng(0).random((len(labels), 3)))
    return data.texture(measures.set_axis(["brightness", "contrast", "sharpness"], axis=1), labels)


def maps_figure(count, shape=(200, 200)):
    grays, rows = images(count)
    grays = [np.resize(gray, shape) for gray in grays]
    return models.activation_maps(grays, np.full((count, 8, 8), 0.5), rows)


def families_figure():
    gray = np.full((200, 200), 90, np.uint8)
    return data.families(dict.fromkeys(list(corruptions.FAMILIES)[:4], [gray] * 3), (1, 3, 5))


FIGURES = {
    "samples": lambda: data.samples(*images(10), columns=4),
    "samples_of_one": lambda: data.samples(*images(1), columns=1, title="Closest pairs"),
    "families": families_figure,
    "history": lambda: models.history(history_table(), 12),
    "activation_maps": lambda: maps_figure(6),
    "activation_maps_of_one": lambda: maps_figure(1),
    "activation_maps_of_unequal_height": lambda: maps_figure(6, (400, 150)),
    "compare_maps": lambda: models.compare_maps(
        images(1)[0][0], {"by hand": np.ones((4, 4)), "by a library": np.ones((4, 4))}, "Grad-CAM"
    ),
    "accuracies": lambda: evaluation.accuracies(accuracy_table()),
    "learning_curve": lambda: evaluation.learning_curve(accuracy_table(6)),
    "cost": lambda: evaluation.cost(cost_table()),
    "confidence": lambda: evaluation.confidence(predictions(), 0.9),
    "robustness": lambda: evaluation.robustness(robustness_table(), "custom_cnn"),
    "novelty_groups": lambda: evaluation.novelty_groups(novelty_table(), 1.6, "custom_cnn"),
    "drift_detection": lambda: evaluation.drift_detection(rate_table()),
    "reliability": lambda: uncertainty.reliability(reliability_tables(), "custom_cnn"),
    "temperature": lambda: uncertainty.temperature(
        pd.DataFrame({"temperature": [0.5, 1, 2], "confidence": 0.9, "log_loss": 0.1}),
        0.95,
        1.3,
        "m",
    ),
    "expected_cost": lambda: uncertainty.expected_cost(CURVE, 0.8),
    "risk": lambda: uncertainty.risk({"clean": CURVE, "corrupted": CURVE}, 0.9, "custom_cnn"),
    "conformal_quantile": lambda: uncertainty.conformal_quantile(
        np.linspace(0, 1, 100), {"90": 0.1, "95": 0.05, "99": 0.01}
    ),
    "drift": lambda: uncertainty.drift(changes(), 4.0, 1200),
}
BY_CLASS = {
    "class_balance": balance_figure,
    "texture": texture_figure,
    "confusion": lambda count: evaluation.confusion(counts(count), "Accuracy 100 %"),
    "by_class": lambda count: evaluation.by_class(classwise(count)),
    "errors": error_figure,
    "coverage": lambda count: uncertainty.coverage(coverage_table(count), "custom_cnn"),
    "leave_one_class_out": lambda count: evaluation.leave_one_class_out(left_out_table(count)),
    "localization": lambda count: evaluation.localization(classwise(count), "Grad-CAM by class"),
}
ALL = {
    **FIGURES,
    **{
        f"{name}_{count}": lambda draw=draw, count=count: draw(count)
        for name, draw in BY_CLASS.items()
        for count in CLASS_COUNTS
    },
}


def overlaps(one, other):
    """Tell whether two level texts cover each other; extents of tilted ones always do."""
    if not one.get_text() or not other.get_text() or one.get_rotation():
        return False
    return one.get_window_extent().overlaps(other.get_window_extent())


def test_a_figure_that_was_saved_is_shown_as_it_was(tmp_path):
    figure = FIGURES["samples"]()
    style.save(figure, tmp_path, "samples")
    before = [ax.get_position().bounds for ax in figure.axes]
    figure.draw_without_rendering()
    assert [ax.get_position().bounds for ax in figure.axes] == before


@pytest.mark.parametrize("name", ALL)
def test_every_figure_has_titles_and_axis_labels_and_cuts_nothing_off(name):
    figure = ALL[name]()
    figure.draw_without_rendering()
    extent, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(extent.min) >= 0
    assert extent.x1 <= width and extent.y1 <= height
    assert figure.get_suptitle() or all(ax.get_title() for ax in figure.axes[:1])
    titles = [*figure.texts[:1], *(ax.title for ax in figure.axes)]
    assert not any(overlaps(*pair) for pair in itertools.combinations(titles, 2))
    for ax in figure.axes:
        if ax.axison:
            assert not any(overlaps(*pair) for pair in itertools.pairwise(ax.get_xticklabels()))
            below = ax.get_shared_x_axes().get_siblings(ax)
            assert ax.get_ylabel() or any(other.get_xlabel() for other in below)


@pytest.mark.parametrize("length", [4, 8, 11, 20])
@pytest.mark.parametrize("count", [2, 6, 12])
def test_names_of_columns_stand_side_by_side(count, length):
    classes = [f"{number:02}".ljust(length, "m") for number in range(count)]
    figure = evaluation.confusion(pd.DataFrame(np.eye(count, dtype=int), classes, classes), "x")
    figure.draw_without_rendering()
    shown = figure.axes[0].get_xticklabels()
    assert not any(overlaps(*pair) for pair in itertools.pairwise(shown))


def vertical_lines(ax):
    return [line.get_xdata()[0] for line in ax.get_lines() if len(set(line.get_xdata())) == 1]


def test_confidence_has_a_point_for_each_image_and_the_threshold_at_its_place():
    table = predictions(wrong=3)
    ax = evaluation.confidence(table, 0.9).axes[0]
    wrong, correct = ax.get_lines()[:2]
    assert (len(wrong.get_xdata()), len(correct.get_xdata())) == (3, len(table) - 3)
    assert ax.get_xscale() == "log"
    assert vertical_lines(ax)[-1] == pytest.approx(0.1)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["wrong (3)", "correct (17)"]
    assert ax.get_ylim()[1] < ax.get_ylim()[0]  # the first row, that of errors, is on top
    assert max(correct.get_xdata()) < ax.get_xlim()[0]
    assert min(correct.get_xdata()) > ax.get_xlim()[1]


def test_confidence_without_a_threshold_or_errors():
    ax = evaluation.confidence(predictions(wrong=0)).axes[0]
    assert len(ax.get_lines()) == 2
    assert not ax.figure.legends


def test_where_no_prediction_is_accepted_no_threshold_is_drawn():
    ax = evaluation.confidence(predictions(), 1.01).axes[0]
    assert len(ax.get_lines()) == 2
    assert "all of which a person looks at" in ax.get_title()
    assert len(uncertainty.risk({"clean": CURVE}, 1.01, "m").axes[0].get_lines()) == 1
    legend = uncertainty.expected_cost(CURVE, 1.01).legends[0]
    assert "threshold: accept none" in [text.get_text() for text in legend.get_texts()]


def test_expected_cost_marks_its_minimum_and_the_threshold():
    figure = uncertainty.expected_cost(CURVE, 0.8)
    steps, threshold, least = figure.axes[0].get_lines()
    assert len(steps.get_xdata()) == len(CURVE)
    assert threshold.get_xdata()[0] == pytest.approx(0.2)
    assert least.get_xydata()[0] == pytest.approx((0.2, 0.1))
    assert figure.axes[1].get_lines()[2].get_ydata()[0] == pytest.approx(0.9)


def test_conformal_quantile_puts_each_threshold_at_the_share_that_it_misses():
    thresholds = {"90": 0.4, "95": 0.2, "99": 0.05}
    ax = uncertainty.conformal_quantile(np.linspace(0, 1, 50), thresholds).axes[0]
    points = [line.get_xydata()[0] for line in ax.get_lines() if "coverage" in line.get_label()]
    assert np.array(points) == pytest.approx(np.array([(0.4, 0.1), (0.2, 0.05), (0.05, 0.01)]))


def test_confusion_shows_counts_once_and_leaves_empty_cells_blank():
    table = counts(3)
    table.iloc[0, 2] = 1
    figure = evaluation.confusion(table, "title")
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert shown == ["50", "", "1", "", "50", "", "", "", "50"]
    colors = figure.axes[0].collections[0].get_facecolors()
    assert colors[2] != pytest.approx(colors[1], abs=0.05)  # one error among 51 is seen
    assert len(figure.axes) == 2  # the matrix and its colour bar


def test_text_can_be_read_on_its_colour():
    assert style.text_color("white") == style.text_color("C1") == style.text_color("tan") == "black"
    assert style.text_color("black") == style.text_color("C0") == "white"


def test_cost_labels_each_model_once_and_joins_the_pareto_front():
    ax = evaluation.cost(cost_table()).axes[0]
    labels = [text.get_text() for text in ax.texts]
    assert len(labels) == len(cost_table())
    assert "mobilenet_v2 (2.2 MB)" in labels
    front = ax.get_lines()[0]
    assert list(front.get_xdata()) == [8, 19]
    assert list(front.get_ydata()) == [0.98, 0.99]
    extents = [text.get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for a in extents for b in extents if a is not b)


def test_learning_curve_names_lines_at_their_end_apart():
    ax = evaluation.learning_curve(accuracy_table(6)).axes[0]
    assert [len(line.get_xdata()) for line in ax.get_lines()] == [3] * 6
    assert len(ax.collections) == 6  # a band each
    ax.figure.draw_without_rendering()
    extents = sorted((text.get_window_extent() for text in ax.texts), key=lambda box: box.y0)
    assert len(extents) == 6
    assert all(low.y1 <= high.y0 + 3 for low, high in itertools.pairwise(extents))


def test_accuracies_have_a_panel_a_protocol_and_a_point_a_model():
    figure = evaluation.accuracies(accuracy_table())
    assert [ax.get_title() for ax in figure.axes] == ["fixed split", "blocked 5-fold"]
    assert [len(ax.texts) for ax in figure.axes] == [3, 3]


def test_history_marks_the_epoch_that_was_kept():
    for ax in models.history(history_table(), 12).axes:
        training, validation = ax.get_lines()[:2]
        assert len(training.get_xdata()) == len(validation.get_xdata()) == 30
        assert vertical_lines(ax)[0] == 12


def test_class_balance_has_a_bar_for_each_class_and_part():
    ax = balance_figure(30).axes[0]
    assert [len(bars) for bars in ax.containers] == [30] * 3


def test_texture_names_each_class_once_in_order():
    labels = [text.get_text() for text in texture_figure(2).axes[0].get_yticklabels()]
    assert labels == sorted([style.shorten(LONG), "class_1"])


@pytest.mark.parametrize("count", CLASS_COUNTS)
def test_errors_show_the_largest_probabilities_only(count):
    rows = [ax for ax in error_figure(count).axes if ax.patches and ax.axison]
    assert [len(ax.patches) for ax in rows] == [min(count, evaluation.N_BARS)] * 3


def test_robustness_shows_each_cell_and_not_the_clean_images():
    for ax in evaluation.robustness(robustness_table(), "custom_cnn").axes:
        assert len(ax.texts) == 5 * len(corruptions.FAMILIES)
        assert [text.get_text() for text in ax.get_xticklabels()] == ["1", "2", "3", "4", "5"]


def test_drift_detection_shows_each_rate_and_the_false_alarms():
    ax = evaluation.drift_detection(rate_table()).axes[0]
    assert [text.get_text() for text in ax.texts[3:]] == ["0.0%", "50.0%", "100.0%"]
    assert "0.5%" in ax.get_title()


def test_limits_of_novelty_and_drift_lie_at_their_place():
    novelty = evaluation.novelty_groups(novelty_table(), 1.6, "custom_cnn").axes[0]
    assert 1.6 in vertical_lines(novelty)
    shift = uncertainty.drift(changes(), 4.0, 1200).axes[0]
    assert vertical_lines(shift) == [-4, 4]
    assert len(shift.patches) == len(changes())


def test_localization_marks_chance_in_each_row():
    for ax in evaluation.localization(classwise(2), "title").axes:
        assert ax.get_lines()[-1].get_xydata().tolist() == [[0.3, 0], [0.3, 1]]


def test_samples_without_boxes_promise_none():
    grays, rows = images(4)
    assert "boxes" in data.samples(grays, rows).get_suptitle()
    assert "boxes" not in data.samples(grays, rows.assign(boxes=[[]] * 4)).get_suptitle()


def test_samples_have_the_images_in_their_own_shape_and_boxes_named_inside():
    grays, rows = images(4)
    axes = data.samples(grays, rows, columns=2).axes
    assert [ax.get_images()[0].get_array().shape for ax in axes] == [gray.shape for gray in grays]
    assert all(len(ax.patches) == 2 and len(ax.texts) == 1 for ax in axes)
    assert axes[0].texts[0].get_ha() == "right"  # the box lies at the right border


def test_caption_names_the_class_unless_the_file_does():
    assert style.caption("a/scratches_12.jpg", "scratches") == "scratches_12"
    assert style.caption("a/0012.jpg", "scratches") == "scratches\n0012"
    assert len(style.shorten(LONG, 20)) == 20


def test_save_makes_the_folder_and_labels_synthetic_runs(tmp_path):
    run, model = tmp_path / "run", tmp_path / "run" / "model"
    model.mkdir(parents=True)
    runs.mark_synthetic(run, "drawn")
    figure = models.history(history_table(), 1)
    style.save(figure, model, "history")
    assert figure.get_supxlabel() == "SYNTHETIC images"
    assert [file.name for file in (model / "figures").iterdir()] == ["history.png"]
    pixels = plt.imread(model / "figures" / "history.png")
    assert pixels[0, 0, :3] == pytest.approx(1)  # white, also on a dark page
