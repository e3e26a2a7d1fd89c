//! The files that are written by hand: their structure, where their system isn't there to judge it.
