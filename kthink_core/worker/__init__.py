"""The process that owns the device: one thread computes, HTTP hands it jobs; and what starts it beside the app."""
