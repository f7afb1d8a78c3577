"""The ClassAd language: text, values, clauses, matching. The only importer of classad2.

`htcondor2` is imported first, for its side effect: without it `countMatches`, `stringListMember` and the look-up of an
unscoped name in the TARGET ad fail silently and every GPU match is False (fact sheet §3.3, trap 1). Its configuration
comes from the environment alone unless the user says otherwise.
"""

import os

os.environ.setdefault("CONDOR_CONFIG", "ONLY_ENV")

import htcondor2  # noqa: F401  imported for its side effect, before classad2
