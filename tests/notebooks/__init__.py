"""What the notebooks show, and how they are saved: that is checked with jsonschema, without its grammar of addresses.

No notebook's form asks for that one, and it takes every process that imports nbformat more than a second to build.
"""

import sys

sys.modules.setdefault("rfc3987_syntax", None)  # jsonschema does without a package that cannot be imported
