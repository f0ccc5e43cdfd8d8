"""What operators do over the API: prices, and the limits of organizations. The console's pages call the same.

An operator is a person with a session (`identity.operators`); no API key is one. Reading across organizations happens
as the database role *operator*, which cannot write; a limit is set as the role *app* in the organization it concerns
and stands in its audit; a price is written as *app* too, which Postgres allows while an operator's session is presented
(decision 17).
"""
