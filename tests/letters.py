"""A renderer for scripted policies: a token a character, and a name of a special token to stumble over."""


class Letters:
    """~ is a special token's name."""

    stop = ()

    def prompt(self, text, *more):
        return tuple(map(ord, text))

    def plain(self, text):
        return None if "~" in text else tuple(map(ord, text))

    def text(self, tokens):
        return "".join(map(chr, tokens))

    def reply(self, text):
        return (*map(ord, text), 0)
