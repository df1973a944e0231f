"""The app: page setup and navigation."""

import streamlit as st

st.set_page_config(page_title="kthink", page_icon="🧠", layout="wide")
st.navigation(
    [
        st.Page("pages/overview.py", title="Overview", icon=":material/dashboard:", default=True),
        st.Page("pages/inference.py", title="Inference", icon=":material/notes:", url_path="inference"),
        st.Page("pages/feature.py", title="Feature", icon=":material/bubble_chart:", url_path="feature"),
    ],
    position="top",
).run()
