"""Organizations, users, memberships and roles, sessions, API keys.

Whose a credential is, is found only by the SECURITY DEFINER functions of the schema (★9): the API's role cannot
read a credential of a tenant it does not yet act for.

- A *user* is a person with one e-mail address and one argon2id password on the platform, seen only through a
  membership. Owners and admins add members; a new one gets an initial password, told once. An address that
  already has an account elsewhere is refused: whoever made that account knows its password, and would get in
  here. A removed member's account stays without membership, opens nothing, and gets a new password when somebody
  adds it again.
- A *session* is a browser's: random token in an HttpOnly cookie, SHA-256 in the database. It ends at its time, at
  log-out, at a password change, or when the membership or the account ends.
- An *API key* is a program's: told once, looked up by SHA-256, narrowed by role and scopes, never wider than
  whoever made it; revoked by hand, or with its maker's membership. Gateways follow within two seconds.
- A request with a session's cookie may change something only if our own pages sent it: see `authentication`.
"""
