"""Pull pages in the Prometheus text format from a fleet of targets.

``discovery`` finds label sets, ``targets`` makes targets of them by ``relabel``, ``fleet`` keeps
which there are, ``schedule`` says when each is asked, ``client`` and ``reply`` ask, ``pages`` reads
what was answered on one thread beside the loop, by what ``state`` and ``known_pages`` remember;
``other_samples`` keeps what is not about energy, ``portions`` writes pages together, ``health``
tells how targets are, and ``scraper`` brings them together.
"""

from .scraper import Scraper

__all__ = ("Scraper",)
