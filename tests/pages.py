"""HTML as a browser reads it, and a text that no page may take for HTML."""

from html.parser import HTMLParser

EVIL = '<script>alert("1")\'&amp;<img onerror=x>'


class Page(HTMLParser):
    """The tags, attributes and text of HTML, as a browser reads it."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.text = [], {}, ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value)

    def handle_data(self, data):
        self.text += data


def is_escaped(html):
    """Tell whether `EVIL` is in HTML, as text alone."""
    page = Page(html)
    return "script" not in page.tags and "onerror" not in page.attributes and EVIL in page.text
