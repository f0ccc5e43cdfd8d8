"""The dashboard: pages for people, rendered on the server, refreshed in place.

A request comes in with a session cookie → `pages/` asks the platform (`views.Platform`, answered by
the domains' services) for view models → `render.Renderer` renders a whole page, or, where htmx asks, one
named block of it. What changes polls its own block every two seconds and stops when the thing
is final (status 286). Charts fetch JSON; logs append lines after the last one seen.

Every answer carries a strict Content-Security-Policy: no inline script, no inline style. Every POST
carries a CSRF token bound to the visitor's cookies. Scripts and styles are bundled from `assets/` into
`static/` under hashed names and cached for ever.
"""
