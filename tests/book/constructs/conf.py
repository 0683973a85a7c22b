"""A small book that uses every construct which the translation into plain notebooks must know."""

extensions = [
    "myst_nb",
    "sphinx.ext.mathjax",
    "sphinx_design",
    "sphinx_exercise",
    "sphinx_proof",
    "sphinxcontrib.bibtex",
    "executed",
    "plain_notebooks",
]
root_doc = "chapters/index"
exclude_patterns = ["_build"]
numfig = True
numfig_format = {"figure": "Figure %s", "table": "Table %s"}
bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath", "substitution"]
myst_footnote_transition = False
myst_substitutions = {"book": "The Book"}
nb_execution_mode = "cache"
nb_execution_cache_path = "_build/.jupyter_cache"
