"""Detection power: every mistake of the catalogue planted, and how many are found, located and named.

Beside it what people use to check gradients, on the same planted mistakes and the same correct networks; and the smallest
error that is seen.
"""
