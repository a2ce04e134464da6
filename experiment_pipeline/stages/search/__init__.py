"""Training: one fitted model per configuration, as fast as the machine allows.

    sets.py             what every fit is given
    algorithms.py       names and import paths → unfitted estimators, checked
    lightgbm_parameters.py  the names LightGBM accepts
    features.py         recipes: prepared columns → numbers
    shared_work.py      encoding and binning, once per sweep
    boosting.py         LightGBM on shared bins
    boosted_estimator.py    Booster → scikit-learn estimator
    own_stopping.py     an estimator's own early stopping
    fit.py              one configuration, measured and stored with its predictions
    scoring.py          scores, from predictions alone
    parsing.py          one parse at a time
    cost.py  sweep.py  processes.py    the pools: longest first, a failure is a result
    fitting.py  brake.py  conclusions.py   fits within the budget, and what came of each
    thinning.py  rungs.py  halving.py   nested parts of the train rows, and who goes on
    surrogate.py  rounds.py   all train rows, and who is promising
    run.py       one search, in either way
    fingerprints.py     what decides a trained model
    results.py          what is left behind
    pipelines.py  predictions.py   the whole pipeline, and what it predicts

Nothing here touches a disk. In: configurations and `TrainingSets`. Out: `TrainedModel`s.
"""
