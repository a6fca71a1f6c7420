"""`BudgetGate` in the frameworks and clients people use, one module each.

Nothing here is imported by itself, and each module needs the extra of its name:
``pip install 'otel-budget[langchain]'`` for `otel_budget.integrations.langchain`.
"""
