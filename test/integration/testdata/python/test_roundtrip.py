"""Round trips through Python's json, with its C accelerator and without."""

import json
import math
import random
import unittest
from json import decoder, encoder, scanner


def value(rng, depth=0):
    kind = rng.randrange(7 if depth < 4 else 5)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind == 1:
        return rng.randint(-(2**70), 2**70)
    if kind == 2:
        return rng.uniform(-1e300, 1e300)
    if kind in (3, 4):
        return "".join(chr(rng.choice([rng.randrange(32, 127), rng.randrange(0x20), rng.randrange(0xA0, 0xD7FF), rng.randrange(0x10000, 0x10FFFF)])) for _ in range(rng.randrange(12)))
    if kind == 5:
        return [value(rng, depth + 1) for _ in range(rng.randrange(6))]
    return {str(value(rng, 9)): value(rng, depth + 1) for _ in range(rng.randrange(6))}


class RoundTrip(unittest.TestCase):
    def test_accelerator_is_there(self):
        self.assertIsNotNone(encoder.c_make_encoder)
        self.assertIsNotNone(scanner.c_make_scanner)

    def test_random_values(self):
        rng = random.Random(20)
        for _ in range(2000):
            v = value(rng)
            self.assertEqual(json.loads(json.dumps(v)), v)
            self.assertEqual(json.loads(json.dumps(v, ensure_ascii=False, indent=1, sort_keys=True)), v)

    def test_pure_python_agrees(self):
        rng = random.Random(21)
        pure = decoder.JSONDecoder()
        pure.parse_string = decoder.py_scanstring
        pure.scan_once = scanner.py_make_scanner(pure)
        for _ in range(300):
            text = json.dumps(value(rng))
            self.assertEqual(pure.decode(text), json.loads(text))

    def test_large(self):
        v = [{"n": i, "s": "x" * (i % 100)} for i in range(50000)]
        self.assertEqual(json.loads(json.dumps(v)), v)

    def test_floats(self):
        for f in (0.1, -0.0, 5e-324, 1.7976931348623157e308, math.pi):
            self.assertEqual(math.copysign(1, json.loads(json.dumps(f))), math.copysign(1, f))
            self.assertEqual(json.loads(json.dumps(f)), f)

    def test_bad(self):
        for text in ("", "[", "[1,]", '{"a"}', "tru", '"\x01"', "[1] 2", "\ufeff[]"):
            with self.assertRaises(json.JSONDecodeError, msg=text):
                json.loads(text)

    def test_deep(self):
        with self.assertRaises(RecursionError):
            json.loads("[" * 100000 + "]" * 100000)


if __name__ == "__main__":
    unittest.main()
