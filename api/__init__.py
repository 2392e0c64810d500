"""HTTP in, HTTP out, and the two kinds of process: doors that speak HTTP, one engine that predicts and writes.

The way of a prediction: `contract` names the operation, `direct` lets Connexion find it, `tokens` says who asks and
whether they may, `bodies` and `schemas` check the JSON, `predictions` hands the exact bytes through `line` to the
`engine`, which answers only when the record is durable.
"""
