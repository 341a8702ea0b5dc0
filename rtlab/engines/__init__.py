"""The engines: each trains and evaluates one experiment and gives back an `Outcome`.

`trainer` is the reference, Hugging Face's own `Trainer` and PEFT, and shares no code with what it is there to check;
`svm` fits a linear classifier on frozen features.
"""
