"""Define what a data set asks of a model: the training loss and the scores of its predictions."""
