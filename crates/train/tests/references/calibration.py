"""p-values of `calibration/tests.rs`: P(Binomial(rows, epsilon) <= lost). scipy 1.17.1."""

from scipy.stats import binom

for lost, rows, epsilon in [(0, 598, 0.005), (10, 3333, 0.005), (11, 3333, 0.005), (3, 40, 0.2), (0, 7, 0.5),
                            (120, 10_000, 0.01), (1, 5_000, 0.01)]:
    print(f"        ({lost}, {rows}, {epsilon}, {binom.cdf(lost, rows, epsilon):.9e}),")
