"""Whether dnal works here: what is installed, what the machine offers, and a small job from end to end."""

from dnal.doctor.examination import examine as examine
