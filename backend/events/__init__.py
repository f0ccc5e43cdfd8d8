"""Job and endpoint events told outside: signed webhooks and e-mail.

An event's row in the outbox is written in the transaction of the status change (`core.lifecycle`). Publishing turns
it into one delivery for each subscription that wants it, in the order of the outbox; a courier then sends what is due.
A delivery is pending until it is delivered or has failed for a day; deliveries to one subscription about one resource
go in order, each after the one before it was delivered or given up. A receiver may get one twice, always under the
same id. The log of attempts is kept for some weeks, and whatever it shows can be sent again.
"""
