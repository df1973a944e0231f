"""What pages draw with: the only Streamlit in the package.

`page` opens what a link names → `choices` lets a person change it → `transcript`, `charts`, `tables` and others draw.
"""
