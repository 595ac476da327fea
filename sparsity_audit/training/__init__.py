"""Training the zoo: optimizers, regularisers, the loop, and the run folder it leaves."""
