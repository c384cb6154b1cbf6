"""A method, a technique, a model and a data set for dnal, from outside."""
