"""The library of *The Chain Rule: deep learning in running code*: a tested implementation of every method of the book.

Import the module of the concept you need, for example ``from chainrule.information import entropy``.
"""

__version__ = "0.1.0"
