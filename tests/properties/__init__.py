"""State machines: Hypothesis moves the platform in any order it can think of, and what always holds is looked at
after every move. Each machine plays on the real database with committed transactions, and keeps a model of its own
where there is one to keep.

    jobs       one job, its user, its agents, its controllers, lost leases, lost agents
    leases     rows that several controllers claim, renew, lose, finish
    uploads    parts in any order, repeated, wrong, given up, expired, completed by two at once, swept
    money      usage in any order and again, prices set meanwhile, ratings by two at once, budgets and their holds

`make test` plays a few short games, the same every time; `ci-long` many long ones, other ones each time. A game that
fails is printed as the program that plays it.
"""
