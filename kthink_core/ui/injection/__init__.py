"""The part of a feature's page that tests whether it is more than its words."""
