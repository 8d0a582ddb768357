"""Convert official releases to the layout that a data set reads."""
