"""Every asset check of an experiment: its name, and what holds when it passes.

What is measured, and what came of it, is said by the stage's own page. Out: name → sentence.
"""

CHECKS = {
    "fit_for_modelling": "The findings allow to train models on this table. `no go` ends the run "
    "before it costs, unless the YAML accepts the findings that lead to it.",
    "rows_conserved": "Every delivered row is either validated or rejected, once, unchanged.",
    "rejection_rate_within_limit": "No more rows break schema.yaml than "
    "`validation.max_rejected_fraction` allows.",
    "data_resembles_the_accepted": "Columns and values are like those of the data that the current "
    "champion was made from.",
    "rejected_rows_resemble_the_others": "Rejecting rows hits no part of the data more than others.",
    "sets_are_disjoint": "Every validated row is in one set, or left out by the gap in time.",
    "nothing_leaks_between_sets": "The sets share no ids, groups or times, and hold no copies of "
    "each other's rows.",
    "sets_look_alike": "Target and features of test and validation set are like those of the train "
    "set. A split by time may show here what has changed.",
    "no_configuration_failed": "Every configuration could be fitted; a warning names the others.",
    "winner_beats_baseline": "The chosen configuration is better than predicting without features, "
    "by more than chance.",
    "acceptance_criteria_met": "The choice meets every criterion of `acceptance` on the validation "
    "set, or beats predicting without features where there is none. Else nothing is exported.",
    "predictions_survive_reload": "The version's files, loaded in a fresh process without this "
    "package, predict what the fitted model predicts. Else no version becomes visible.",
}
