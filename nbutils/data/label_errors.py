"""Labels that are probably wrong: confident learning on out-of-fold probabilities."""

import numpy as np
import pandas as pd
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

N_FOLDS = 10
STRENGTH = 0.1  # inverse L2 regularisation of the regression


def out_of_fold(
    features: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None
) -> np.ndarray:
    """Predict each image by logistic regressions that were fitted without it.

    Leave `groups` out to find single wrong labels: copies of an image with the right label are the
    best evidence against a wrong one. With groups, scenes whose copies are all mislabelled are
    found too, but hard images outrank many wrong labels where a data set has few scenes.

    Parameters
    ----------
    features
        Shape (images, channels), of a frozen backbone, the mean over the eight views.
    y
        Class numbers (int) from 0 without a gap, at least two images a class.
    groups
        As `splits.find_groups` numbers them: images of a group are held out together.

    Returns
    -------
    Probabilities, float, shape (images, classes).
    """
    n_folds = min(N_FOLDS, int(np.bincount(y).min()))
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    folds = kind(n_folds, shuffle=True, random_state=0)
    probabilities = np.zeros((len(y), y.max() + 1))
    for others, held_out in folds.split(features, y, groups):
        regression = LogisticRegression(C=STRENGTH, max_iter=100, tol=1e-3)
        with threadpool_limits(1, "blas"):  # more would wait for one another
            probe = make_pipeline(StandardScaler(), regression).fit(features[others], y[others])
        probabilities[np.ix_(held_out, probe.classes_)] = probe.predict_proba(features[held_out])
    return probabilities


def rank(probabilities: np.ndarray, y: np.ndarray) -> pd.DataFrame:
    """Rank images by how probably their label is wrong, the worst first.

    Confident learning of Northcutt, Jiang and Chuang (JAIR 70, 2021), by cleanlab.

    Parameters
    ----------
    probabilities
        As `out_of_fold` returns them.
    y
        Class numbers (int), as the labels say.

    Returns
    -------
    One row an image, its position as the index: label and suggested (class numbers), score (the
    probability of the label) and is_issue (whether confident learning calls the label wrong).
    """
    scores = get_label_quality_scores(y, probabilities, method="self_confidence")
    is_issue = find_label_issues(y, probabilities, n_jobs=1)
    columns = {"label": y, "suggested": probabilities.argmax(axis=1), "score": scores}
    table = pd.DataFrame(columns | {"is_issue": is_issue})
    return table.sort_values("score", kind="stable")
