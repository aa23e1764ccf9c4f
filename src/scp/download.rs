//! Downloads: the side of the SCP protocol that receives.
