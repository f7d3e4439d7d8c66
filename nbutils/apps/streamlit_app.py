"""The demo as a Streamlit page.

streamlit run nbutils/apps/streamlit_app.py --browser.gatherUsageStats false \
    --server.address 127.0.0.1 [-- --model MODEL --scale 1]
"""

import argparse

import streamlit as st

from nbutils.apps import report
from nbutils.apps.html import render
from nbutils.apps.intake import LIMITS, MAX_BYTES
from nbutils.apps.session import Session
from nbutils.data.files import SUFFIXES
from nbutils.disk import UserError
from nbutils.inference.predictor import DEFAULT_MODEL, Predictor, load_predictor


@st.cache_resource
def load(model: str, scale: float) -> Predictor:
    """Return a model's predictor, once for all visitors."""
    return load_predictor(model, scale=scale)


def session(predictor: Predictor) -> Session:
    """Return the session of this visitor and model."""
    sessions = st.session_state.setdefault("sessions", {})
    if predictor.name not in sessions:
        sessions[predictor.name] = Session(predictor)
    return sessions[predictor.name]


def page(model: str, scale: float) -> None:
    """Draw the page; images are enlarged by `scale` to be as those of training."""
    st.set_page_config(page_title="Steel surface defects", layout="wide")
    st.title("Steel surface defects")
    try:
        predictor = load(model, scale)
    except UserError as error:
        st.error(str(error))
        return
    st.caption(f"Model {report.model_facts(predictor.name)[1]}")
    known = len(predictor.classes)
    top = st.sidebar.slider("Classes", 1, known, min(report.TOP, known))
    with_map = st.sidebar.checkbox("Show where the defects are", value=True)
    files = st.file_uploader(
        f"Images ({LIMITS})",
        SUFFIXES,
        accept_multiple_files=True,
        max_upload_size=MAX_BYTES // 2**20,
    )
    st.html(render("style.html"))
    try:
        shown = session(predictor)
        entries = [shown.predict(file.name, file.getvalue()) for file in files or []]
    except UserError as error:
        st.error(str(error))
        return
    shown.entries = list(dict.fromkeys(entries))  # a file that was taken out leaves the table
    if entries:
        st.sidebar.download_button("Table (CSV)", shown.to_csv(), "session.csv", "text/csv")
    for entry in shown.entries:
        st.html(report.card(entry, top, with_map))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default=DEFAULT_MODEL, help="such as reference/mobilenet_v2")
    parser.add_argument("--scale", type=float, default=1.0, help="as `steel demo` takes it")
    page(**vars(parser.parse_args()))
