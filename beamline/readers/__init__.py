"""One way in for every raw format: `read`.

A format is one module with one `Format`. It is found by what the file holds where that is certain, else by
its suffix; formats of other packages come in through the entry point ``redoxlight.readers``. Whatever a
library underneath raises, hangs on or silently gets wrong ends here as one `DataFileError`.
"""

from __future__ import annotations
