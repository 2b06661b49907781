"""How languages write numbers where Python writes 1e+21, 1.0 and 5e-324."""

from decimal import Decimal


def ruby(number: int | float) -> str:
    """1.0e+21"""
    digits, e, exponent = repr(number).partition("e")
    return f"{digits}.0e{exponent}" if e and "." not in digits else repr(number)


def php(number: int | float) -> str:
    """1.0e+21 and 1.0e-5, but 1 for 1.0; whole numbers of over 64 bits are floating."""
    return ruby(_of_64_bits(number)).removesuffix(".0").replace("e-0", "e-")


def swift(number: int | float) -> str:
    """1 for 1.0; whole numbers of over 64 bits are floating."""
    return repr(_of_64_bits(number)).removesuffix(".0")


def javascript(number: int | float) -> str:
    """All are floating; 1 for 1.0, and zeros for lost digits up to 1e+21."""
    number = float(number)
    if number == 0 or not 1e-6 <= abs(number) < 1e21:
        return repr(abs(number) or 0)
    return format(Decimal(repr(number)), "f").removesuffix(".0")


def java(number: int | float) -> str:
    """1.0E21, and 4.9E-324 for the least of all."""
    if isinstance(number, int) or number == 0 or 1e-3 <= abs(number) < 1e7:
        return repr(number)
    digits, _, exponent = f"{Decimal(repr(number)):e}".partition("e")
    point = "" if "." in digits else ".0"
    return f"{digits}{point}E{int(exponent)}".replace("5.0E-324", "4.9E-324")


def dotnet(number: int | float) -> str:
    """1E+21, but 1 for 1.0"""
    return repr(number).removesuffix(".0").upper()


def foundation(number: int | float) -> str:
    """17 digits: 0.10000000000000001"""
    return str(number) if isinstance(number, int) else f"{number:.17g}"


def _of_64_bits(number: int | float) -> int | float:
    is_whole = isinstance(number, int) and abs(number) < 2**63
    return number if is_whole else float(number)
