"""From a labelled image to the same scene in another domain: schedule, sampler, one batch, a whole data set."""
