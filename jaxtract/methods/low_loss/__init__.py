"""A network of low square loss under the Gaussian, from answers of any precision (Chen, Klivans, Meka 2021)."""
