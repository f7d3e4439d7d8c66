"""Labels that are probably wrong: confident learning on out-of-fold probabilities."""

import numpy as np
import pandas as pd
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from threadpoolctl import threadpool_limits

from nbutils.models.linear_probe import LinearProbe

N_FOLDS = 10


def out_of_fold(features: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Predict each image by linear probes that were fitted without it.

    Near-duplicates of it are not held out: copies with the right label are the best evidence
    against a wrong one.

    Parameters
    ----------
    features
        Shape (images, channels), of a frozen backbone, the mean over the eight views.
    y
        Class numbers (int) from 0 without a gap, at least two images a class.

    Returns
    -------
    Probabilities, float, shape (images, classes).
    """
    n_folds = min(N_FOLDS, int(np.bincount(y).min()))
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=0)
    with threadpool_limits(1, "blas"):  # more would wait for one another
        return cross_val_predict(LinearProbe(), features, y, cv=folds, method="predict_proba")


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
