"""Many runs: which are still to do, and doing them."""
