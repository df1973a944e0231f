"""What goes over the wire between app and worker, and a trace as it grows. No torch, no Streamlit."""
