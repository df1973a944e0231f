"""The app: page setup and navigation.

`streamlit run` imports this file for the server, and runs it as a script for each visitor.
"""

import streamlit as st

if __name__ == "__main__":
    st.set_page_config(page_title="kthink", page_icon="🧠", layout="wide")
    # Streamlit's own download of a table leaves texts to a spreadsheet that computes them; ours stand below each table.
    # Taking a tick back means opening its row again: there is nothing to clear.
    # What is chosen of some has the colour of the text: no accent can be read on its own tint and, dark, under white.
    # Nor can the dark one be read on the page: text that takes it under the pointer has a lighter one.
    # A formula has room for its overhanging glyphs: else its box scrolls, by two pixels, and only under a pointer.
    st.html("""<style>
        [data-testid=stElementToolbarButton]:has([aria-label^="Download as CSV"]) {display: none}
        [data-testid=stElementToolbarButton]:has([aria-label^="Clear selection"]) {display: none}
        .stApp {--accent-text: light-dark(#a34b08, #e08a3c)}
        .stApp [data-variant=segmented_control][data-selected=true] {color: inherit !important}
        .stApp button[kind^=tertiary]:is(:hover, :focus-visible):enabled, .stApp [data-testid=stTab]:hover {
            color: var(--accent-text)
        }
        .stApp .katex-display {padding: 0.25em 0.2em}
    </style>""")
    st.navigation(
        [
            st.Page("pages/overview.py", title="Overview", icon=":material/dashboard:", default=True),
            st.Page("pages/inference.py", title="Inference", icon=":material/notes:", url_path="inference"),
            st.Page("pages/feature.py", title="Feature", icon=":material/bubble_chart:", url_path="feature"),
            st.Page("pages/across.py", title="Across inferences", icon=":material/grid_on:", url_path="across"),
            st.Page("pages/reasoning.py", title="Reasoning", icon=":material/psychology:", url_path="reasoning"),
            st.Page("pages/steer.py", title="Steer", icon=":material/tune:", url_path="steer"),
            st.Page("pages/quality.py", title="Quality", icon=":material/verified:", url_path="quality"),
            st.Page("pages/compare.py", title="Compare", icon=":material/compare_arrows:", url_path="compare"),
            st.Page("pages/live.py", title="Live", icon=":material/bolt:", url_path="live"),
            st.Page("pages/notes.py", title="Notes", icon=":material/edit_note:", url_path="notes"),
            st.Page("pages/guide.py", title="Guide", icon=":material/school:", url_path="guide"),
            # Whom it is for finds a link to it beside the own name.
            st.Page("pages/access.py", title="Access", icon=":material/key:", url_path="access", visibility="hidden"),
        ],
        position="top",
    ).run()
else:
    from kthink_core.ui import hosting

    app = st.App(__file__, middleware=hosting.middleware(), routes=hosting.routes(), lifespan=hosting.lifespan)
