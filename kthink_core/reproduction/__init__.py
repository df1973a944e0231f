"""The article's figures, and whether they come out again: what sampling does not touch, and what it does.

A *figures document* says what was published and how it was made; `article.json` is the article's.
"""
