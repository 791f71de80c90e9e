"""What a run or a model is worth: scores, figures with intervals, reports, audits."""
