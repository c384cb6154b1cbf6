"""Many runs: a grid or random draws of the options of `dnal learn`, on Ray Tune.

The folder of a sweep:

    sweep.yaml      the configuration; the same one goes on with what is not finished
    trials.csv      the table of all trials, in the order of the configuration
    trial-0/        a run, as `dnal learn` writes it
    trial-0.log     what was called, and what it printed
"""
