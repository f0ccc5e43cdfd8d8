"""One lineage, walkable in both directions: what something was made of, and what was made of it.

    dataset version → job → attempt → checkpoint (→ the attempt that resumed from it)
                            attempt → model version → compression job → attempt → compressed version
                                      model version → endpoint variant → invoice line;  job → invoice line

It is read from the rows that the other rooms keep; there is no table of its own. From one thing the walk goes to all
its ancestors and all its descendants, not to their other relatives, level by level with one statement for each kind
of step, and ends where the answer is full.
"""
