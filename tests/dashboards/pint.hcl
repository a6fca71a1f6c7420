# What pint need not say of the written rules, and why.

# "Dead code": a join on labels that a selector says are empty. Both sides lack them, and PromQL
# matches what is missing with what is missing: budgets without an agent or a principal are
# compared with their tenant's spend.
rule {
  match {
    name = "llm_budget:recorded:.+"
  }
  disable = ["promql/impossible"]
}

# "Unsafe division": a limit of 0 makes a budget infinitely full, and rightly so; with nothing used
# it is NaN, which no comparison holds for, so nothing fires.
rule {
  match {
    name = "LLMBudgetRefusedFarFromLimit"
  }
  disable = ["promql/nan"]
}

# "Always firing": that is what it is for.
rule {
  match {
    name = "LLMBudgetWatchdog"
  }
  disable = ["alerts/comparison"]
}

# "Smelly selector": Prometheus itself writes file and group into one label.
rule {
  match {
    name = "LLMBudgetAlertsFailing"
  }
  disable = ["promql/regexp"]
}

# "Interval too long", "a rule of another group": the last day is counted once more every half hour,
# and four minutes late, when the records that it is compared with are there. The stat that reads
# both looks back an hour.
rule {
  match {
    path = ".*/llm-budget-fleet-1d.yml"
  }
  disable = ["group/interval", "rule/dependency"]
}
