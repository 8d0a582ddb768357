"""Convert official releases to the layout that a data set reads."""

from dgl_core.utils import needs

needs("The converters of official files", "joblib", "scipy", "PIL")
