"""What people are entitled to: who withdrew comes out, who is who stays hidden."""
